//! headstart-weights
