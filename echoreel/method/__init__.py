"""The paper: Action Prism, Action Integration, the adapter that joins a base. May import bases and above."""
