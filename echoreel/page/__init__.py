"""The page: EchoReel in a browser on this machine; each button is a call of the library."""
