"""The rendered world: people performing recorded motions, filmed as captioned clips.

May import media and common. Read in the order of the data: `motion_library` (recordings) -> `takes` (time
windows) -> `looks` (who and where) -> `renderer` (pixels) -> `actor_clips` (clips, target/reference pairs) ->
`write_clips` (a folder of them).
"""
