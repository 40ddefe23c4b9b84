"""The embedded domain: people performing recorded motions, filmed as short captioned videos.

Read in the order of the data: `motions` (recordings) -> `takes` (time windows) -> `looks` (who and where)
-> `render` (pixels) -> `domain` (clips, target/reference pairs) -> `embedded`, `basetasks`, `pretrain` (the
embedded base), and `judges` and `cases` for its evaluation.
"""
