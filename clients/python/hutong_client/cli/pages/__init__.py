"""Pages for supervisors: one self-contained HTML file each, to be opened, printed or sent as it is."""
