"""The gateway: what the outside world talks to, over HTTP and WebSocket. It owns accounts and credentials.

It owns nothing of a batch: it verifies who asks, asks the owners, and puts commands on the log. It hears nothing from
the log; what is pushed comes to it over the backplane.
"""
