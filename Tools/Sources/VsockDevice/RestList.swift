/// Connections in the order in which they came to rest. Each is in one list at most. Every operation
/// is O(1).
struct RestList {
    /// A connection's place in the list. Neighbours hold each other only while both are in it.
    struct Place {
        fileprivate var isTaken = false
        fileprivate var previous: Connection?
        fileprivate var next: Connection?
    }

    /// The one that has rested longest.
    private(set) var first: Connection?
    private var last: Connection?

    /// Adds a connection that rests from now on.
    mutating func append(_ connection: Connection) {
        connection.restPlace = Place(isTaken: true, previous: last)
        if let last { last.restPlace.next = connection } else { first = connection }
        last = connection
    }

    /// Takes a connection out, if it is in the list.
    mutating func remove(_ connection: Connection) {
        let place = connection.restPlace
        guard place.isTaken else { return }
        connection.restPlace = Place()
        if let previous = place.previous {
            previous.restPlace.next = place.next
        } else {
            first = place.next
        }
        if let next = place.next {
            next.restPlace.previous = place.previous
        } else {
            last = place.previous
        }
    }
}
