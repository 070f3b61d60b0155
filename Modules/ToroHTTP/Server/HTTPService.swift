import ToroCore

/// What the connections of one server share, and who of them makes room for others.
///
///     busy ──waits for a request──▶ resting ──its head is here──▶ busy
///                                      └──a new one needs the place──▶ leaving
///
/// Up to ``HTTPLimits/connections`` are there at a time. When one more comes, the one that has
/// rested longest gives way; only while all are busy do new ones wait in the listener's backlog.
@Core final class HTTPService {
    /// What must be free for a new connection besides its own memory: room for the driver to take
    /// the next one, and for blocks of an answer.
    private static var spareMemory: Int { 32 << 10 }
    /// How many connections give way at most for the memory of one.
    private static var sacrifice: Int { 4 }

    let limits: HTTPLimits
    let clock: any Timekeeper
    let respond: HTTPServer.Handler
    /// Whether connections end after the exchange they are in.
    private(set) var isStopping = false
    /// The connections that wait for a request's head, by when they began to.
    private var resting = HTTPConnectionList()
    /// The others.
    private var busy = HTTPConnectionList()
    /// How many there are, and how many of these have been told to give way.
    private var count = 0
    private var leaving = 0
    /// Whether the server's task was cancelled, and the connections' tasks with it.
    private var isCancelled = false
    /// Resumed when a connection has ended or begins to rest.
    private var waiting: Waiter<Bool>?

    init(_ limits: HTTPLimits, _ clock: any Timekeeper, _ respond: @escaping HTTPServer.Handler) {
        self.limits = limits
        self.clock = clock
        self.respond = respond
    }

    // MARK: Connections

    /// Serves a connection in a task of its own.
    ///
    /// A task group would do the same for 8 kB more of the Swift runtime in each image.
    func serve(_ stream: any ByteStream) {
        guard !isCancelled else { return stream.close() }
        let connection = HTTPConnection(stream, self)
        count += 1
        busy.append(connection)
        connection.task = Core.spawn { [self] in
            await connection.run()
            remove(connection)
        }
    }

    private func remove(_ connection: HTTPConnection) {
        work(connection)
        busy.remove(connection)
        count -= 1
        if connection.isLeaving { leaving -= 1 }
        waiting?.resume(true)
    }

    /// The connection waits for a request's head from now on.
    func rest(_ connection: HTTPConnection) {
        guard !connection.isResting, !connection.isLeaving else { return }
        connection.isResting = true
        busy.remove(connection)
        resting.append(connection)
        waiting?.resume(true)
    }

    /// The connection does not rest any more.
    func work(_ connection: HTTPConnection) {
        guard connection.isResting else { return }
        connection.isResting = false
        resting.remove(connection)
        busy.append(connection)
    }

    // MARK: Room

    /// Waits until there is room for one more connection, or one that can give way.
    func waitForRoom() async {
        while count - leaving >= limits.connections, resting.first == nil { await change() }
    }

    /// Makes room for a connection that has come.
    func makeRoom() async {
        while count - leaving >= limits.connections {
            if !giveWay() { await change() }
        }
        // Memory comes back when those who give way have ended.
        for _ in 0..<Self.sacrifice {
            guard (try? IOBuffer(capacity: Self.spareMemory)) == nil, giveWay() else { return }
            await change()
        }
    }

    /// Has the connection that has rested longest give way; false if none rests.
    func giveWay() -> Bool {
        guard let connection = resting.first else { return false }
        work(connection)
        connection.isLeaving = true
        leaving += 1
        connection.giveWay()
        return true
    }

    /// Waits for so long; false if the task was cancelled meanwhile.
    func pause(_ time: TimeSpan) async -> Bool {
        let waiter = Waiter<Bool>()
        let timer = clock.schedule(at: clock.now + time) { waiter.resume(true) }
        let isOver = await waiter.wait(cancelled: false)
        if !isOver { clock.cancel(timer) }
        return isOver
    }

    /// Waits until all connections have ended.
    func waitForAll() async { while count > 0 { await change() } }

    /// Waits until a connection has ended or begins to rest. If this task is cancelled, so are the
    /// connections'.
    private func change() async {
        let waiter = Waiter<Bool>()
        waiting = waiter
        if !(await waiter.wait(cancelled: isCancelled ? nil : false)) { cancel() }
        waiting = nil
    }

    // MARK: The end

    private func cancel() {
        isCancelled = true
        resting.forEach { $0.task?.cancel() }
        busy.forEach { $0.task?.cancel() }
    }

    /// Ends idle connections now and the others after the exchange they are in.
    func stop() {
        isStopping = true
        resting.forEach { if $0.isBetweenRequests { $0.stream.close() } }
    }
}
