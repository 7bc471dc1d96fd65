"""The VirtualIP resource: model, parser and schema, shared by router, agent and operator."""
