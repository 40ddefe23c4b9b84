"""U-Nets and pipelines that diffusers does not have: LVDM and VideoCrafter. May import common."""
