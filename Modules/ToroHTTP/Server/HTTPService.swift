import ToroCore

/// What the connections of one server share, and who of them makes room for others.
///
///     busy ──waits for a request──▶ resting ──its head is here──▶ busy
///                                      └──a new one needs the place──▶ leaving
///
/// Up to ``HTTPLimits/connections`` are there at a time. When one more comes, the one that has
/// rested longest gives way; only while all are busy do new ones wait in the listener's backlog.
@Core final class HTTPService {
    /// What must be free besides the memory of connections and of blocks, for drivers and for the
    /// requests under way: so many pieces of that size. It is more than the vsock driver wants to
    /// see for a new connection: those who rest give way before new ones are refused.
    private static var sparePieces: Int { 3 }
    private static var spareSize: Int { 32 << 10 }
    /// How long a new client waits for memory at most.
    private static var patience: TimeSpan { .seconds(10) }
    /// How long a connection rests before it gives way for memory: its request may be on its way.
    private static var youth: TimeSpan { .seconds(1) }
    /// How many connections give way for memory at a time.
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
    /// The answers under way that have memory for a part of a file.
    var answers = 0
    /// Whether the server's task was cancelled, and the connections' tasks with it.
    private var isCancelled = false
    /// The timer of the next connection that gives way for memory.
    private var relief: TimerID?
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

    /// Makes room for a connection that has come; false if there is no memory for it in time. New
    /// clients wait in the backlog meanwhile.
    func makeRoom() async -> Bool {
        while count - leaving >= limits.connections {
            if !giveWay() { await change() }
        }
        let end = clock.now + Self.patience
        while !hasSpareMemory, count > 0 {
            giveMemory()
            // Memory comes back when others have been answered, or have given way.
            guard await pause(.milliseconds(20)), clock.now < end else { return false }
        }
        return true
    }

    /// Whether there is memory for more than what is under way: what is always free, and 4 KiB for
    /// each of the answers with files, which need them from time to time to go on.
    var hasSpareMemory: Bool { Self.has(Self.sparePieces + answers / 8) }

    private static func has(_ pieces: Int) -> Bool {
        guard pieces > 0 else { return true }
        guard let piece = try? IOBuffer(capacity: spareSize) else { return false }
        // Held while the others are tried.
        return has(pieces - 1) && piece.capacity > 0
    }

    /// Has the connection that has rested longest give way for its memory, now or as soon as it has
    /// rested long enough; false if none does now.
    @discardableResult
    func giveMemory() -> Bool {
        guard let connection = resting.first else { return false }
        let due = connection.timer.start + Self.youth
        if clock.now >= due { return giveWay() }
        relieve(at: due)
        return false
    }

    /// Goes on to free memory then, until there is some to spare.
    private func relieve(at due: Instant) {
        guard relief == nil else { return }
        relief = clock.schedule(at: due) { [self] in
            relief = nil
            for _ in 0..<Self.sacrifice { if hasSpareMemory || !giveMemory() { break } }
            if resting.first != nil, !hasSpareMemory { relieve(at: clock.now + Self.youth) }
        }
    }

    /// Has the connection that has rested longest give way; false if none rests.
    private func giveWay() -> Bool {
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
    func waitForAll() async {
        while count > 0 { await change() }
        if let relief { clock.cancel(relief) }
        relief = nil
    }

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
