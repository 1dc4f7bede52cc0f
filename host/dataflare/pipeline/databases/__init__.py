"""Tables of databases as sources and destinations: the connector `sql`."""
