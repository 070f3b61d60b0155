public import ToroCore

/// How much of everything a client gets.
public struct HTTPLimits: Sendable {
    /// The longest head of a request in bytes; a longer one is answered with 431. A head takes
    /// memory for the bytes that have come, not for these.
    public var headBytes = 16_384
    /// The longest request-target in bytes; a longer one is answered with 414. RFC 9112 section 3
    /// recommends 8,000 at least for the whole line.
    public var targetBytes = 8_192
    /// The longest body of a request in bytes; a longer one is answered with 413.
    public var bodyBytes: UInt64 = 16 * 1_024 * 1_024
    /// The most bytes of a body nobody asked for that are read to keep the connection.
    public var discardedBytes = 65_536
    /// The most connections at a time. For a further one the one gives way that has waited longest
    /// for a request; while all have one, further ones wait in the listener's backlog.
    public var connections = 2_048
    /// The time from a request's first byte to the end of its head; then 408.
    public var headTime = TimeSpan.seconds(10)
    /// The time without a request after which a connection is closed, from when the client has all
    /// of the answer before.
    public var idleTime = TimeSpan.seconds(60)
    /// The time without a further byte of a request's body; then 408.
    public var bodyTime = TimeSpan.seconds(30)
    /// The time from the first wait for a rest of a request to the end of its body, however its
    /// bytes trickle in, the time for sending left out; then 408. A handler's own time is its own
    /// matter: see `withTimeout`.
    public var requestTime = TimeSpan.seconds(300)
    /// The time in which a client that has bytes to take takes none at all; then the connection is
    /// broken off. A client that goes on reading gets everything, however slowly it reads. Looked
    /// at four times in this time.
    public var sendTime = TimeSpan.seconds(120)

    /// The limits written here.
    public init() {}
}
