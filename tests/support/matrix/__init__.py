"""Every way to launch a server that is tried, the app that all of them serve, and the table of what holds where."""
