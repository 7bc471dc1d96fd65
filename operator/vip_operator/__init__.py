"""The operator: decides which nodes hold which VirtualIP, and never forwards a packet."""
