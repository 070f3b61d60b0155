import ToroCore

/// Connections in the order in which they came into the list. A connection is in one list at most,
/// by links of its own: whatever is done is O(1).
@Core struct HTTPConnectionList {
    /// The one that came first.
    private(set) var first: HTTPConnection?
    private var last: HTTPConnection?

    /// Adds a connection that is in no list, at the end.
    @inline(never) mutating func append(_ connection: HTTPConnection) {
        connection.previous = last
        if let last { last.next = connection } else { first = connection }
        last = connection
    }

    /// Takes out a connection of this list.
    @inline(never) mutating func remove(_ connection: HTTPConnection) {
        let (previous, next) = (connection.previous, connection.next)
        if let previous { previous.next = next } else { first = next }
        if let next { next.previous = previous } else { last = previous }
        connection.previous = nil
        connection.next = nil
    }

    /// Calls `body` with each, which may not take any out.
    @inline(never) func forEach(_ body: @Core (HTTPConnection) -> Void) {
        var connection = first
        while let current = connection {
            connection = current.next
            body(current)
        }
    }
}
