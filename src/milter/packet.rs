//! Cuts the stream into packets: length, command octet, data.
