//! A terminal that was drawn to is the terminal that was drawn.
