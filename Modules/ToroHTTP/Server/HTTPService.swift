import ToroCore

/// What the connections of one server share.
@Core final class HTTPService {
    let limits: HTTPLimits
    let clock: any Timekeeper
    let respond: HTTPServer.Handler
    /// Whether connections end after the exchange they are in.
    private(set) var isStopping = false
    /// The connections there are.
    private var connections = ObjectList<HTTPConnection>()
    /// Whether the server's task was cancelled, and the connections' tasks with it.
    private var isCancelled = false
    /// Who waits for one to end.
    private var waiting: Waiter<Bool>?

    init(_ limits: HTTPLimits, _ clock: any Timekeeper, _ respond: @escaping HTTPServer.Handler) {
        self.limits = limits
        self.clock = clock
        self.respond = respond
    }

    /// Waits until there are fewer than `count` connections. If this task is cancelled, so are
    /// theirs.
    ///
    /// A task group would do the same for 8 kB more of the Swift runtime in each image.
    func wait(forFewerThan count: Int) async {
        while connections.count >= count {
            let waiter = Waiter<Bool>()
            waiting = waiter
            if !(await waiter.wait(cancelled: isCancelled ? nil : false)) { cancel() }
        }
    }

    /// Serves a connection in a task of its own.
    func serve(_ stream: any ByteStream) {
        let connection = HTTPConnection(stream, self)
        connections.append(connection)
        connection.task = Core.spawn { [self] in
            await connection.run()
            remove(connection)
        }
    }

    private func cancel() {
        isCancelled = true
        for index in 0..<connections.count { connections[index].task?.cancel() }
    }

    private func remove(_ connection: HTTPConnection) {
        connections.remove(connection)
        waiting?.resume(true)
    }

    /// Ends idle connections now and the others after the exchange they are in.
    func stop() {
        isStopping = true
        for index in 0..<connections.count where connections[index].isIdle {
            connections[index].stream.close()
        }
    }
}
