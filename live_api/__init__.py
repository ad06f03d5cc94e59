"""What people look at: the WebSocket hub, the REST API and the wallboard."""
