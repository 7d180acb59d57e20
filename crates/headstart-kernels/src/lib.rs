//! headstart-kernels
