"""Where handlers run. The default is a thread pool per flow; `routilux.testing` has one that tests step by hand."""

from routilux.executors.threads import ThreadPools

__all__ = ["ThreadPools"]
