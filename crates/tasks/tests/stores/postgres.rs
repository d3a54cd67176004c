//! What only a server can show: outages, replicas, other people's locks.
