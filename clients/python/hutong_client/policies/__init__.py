"""Policy files, their publication, and effective policies. The package needs the extra `cli` for YAML."""
