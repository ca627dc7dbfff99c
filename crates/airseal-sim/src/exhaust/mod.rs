//! Every power cut, at every flash operation, of every flow a device goes through.
