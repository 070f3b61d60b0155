import ToroCore

/// What the connections of one server share.
@Core final class HTTPService {
    let limits: HTTPLimits
    let clock: any Timekeeper
    let respond: HTTPServer.Handler
    /// Whether connections end after the exchange they are in.
    private(set) var isStopping = false
    /// The connections there are.
    private var connections: [HTTPConnection] = []
    /// Who waits for one to end.
    private var waiting: Waiter<Bool>?

    init(_ limits: HTTPLimits, _ clock: any Timekeeper, _ respond: @escaping HTTPServer.Handler) {
        self.limits = limits
        self.clock = clock
        self.respond = respond
    }

    /// Waits until there are fewer connections than the limit, or the task is cancelled.
    func waitForRoom() async {
        guard connections.count >= limits.connections, !Task.isCancelled else { return }
        let waiter = Waiter<Bool>()
        waiting = waiter
        _ = await waiter.wait(cancelled: false)
        waiting = nil
    }

    /// Counts a connection that begins.
    func add(_ connection: HTTPConnection) { connections.append(connection) }

    /// Serves a connection to its end.
    func serve(_ connection: HTTPConnection) async {
        await connection.run()
        for index in connections.indices where connections[index] === connection {
            connections.swapAt(index, connections.count - 1)
            connections.removeLast()
            break
        }
        // After a burst the table's memory goes back.
        if connections.isEmpty, connections.capacity > 64 { connections = [] }
        waiting?.resume(true)
    }

    /// Ends idle connections now and the others after the exchange they are in.
    func stop() {
        isStopping = true
        for connection in connections where connection.isIdle { connection.stream.close() }
    }
}
