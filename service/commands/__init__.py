"""One module of commands for each thing that a person does."""
