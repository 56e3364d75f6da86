"""The `tandem` command: one thin file per subcommand that parses, wires, calls and prints."""
