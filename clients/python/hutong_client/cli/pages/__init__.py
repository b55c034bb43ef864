"""Pages for supervisors. Each page is one self-contained HTML file that can be opened, printed or sent."""
