import ToroCore

/// What the connections of one server share, and who of them makes room for others.
///
///     busy ──waits for a request──▶ resting ──its head is here──▶ busy
///                                      └──a new one needs the place──▶ leaving
///
/// Up to ``HTTPLimits/connections`` are there at a time. When one more comes, the one that has
/// rested longest gives way; only while all are busy do new ones wait in the listener's backlog.
@Core final class HTTPService {
    /// How long new clients wait for memory at most, and each when memory has been short for so long.
    private static var patience: TimeSpan { .seconds(10) }
    private static var lastPatience: TimeSpan { .milliseconds(100) }

    let limits: HTTPLimits
    let clock: any Timekeeper
    let respond: HTTPServer.Handler
    /// Whether connections end after the exchange they are in.
    private(set) var isStopping = false
    /// The connections that wait for a request's head, by when they began to.
    var resting = HTTPConnectionList()
    /// Those whose requests wait for memory.
    var queued = HTTPConnectionList()
    /// The others.
    var busy = HTTPConnectionList()
    /// How many there are, and how many of these have been told to give way.
    private var count = 0
    private var leaving = 0
    /// Whether there is memory for so many bytes more.
    let hasMemory: @Core (Int) -> Bool
    /// The connections that may take memory, and how much in all.
    var claims = 0
    var claimed = 0
    /// The answers under way that have memory for a part of a file.
    var answers = 0
    /// Whether the server's task was cancelled, and the connections' tasks with it.
    private var isCancelled = false
    /// Since when there has been no memory for a new client.
    private var shortage: Instant?
    /// When a connection gave way for memory last, and the timer of the next one.
    var lastSacrifice: Instant?
    var relief: TimerID?
    /// The next look at those whose requests wait for memory.
    var queueTimer: TimerID?
    /// Resumed when a connection has ended or begins to rest; and when one has ended, whose memory is
    /// waited for.
    private var waiting: Waiter<Bool>?
    private var ending: Waiter<Bool>?

    @export(interface)
    init(
        _ limits: HTTPLimits, _ clock: any Timekeeper, hasMemory: @escaping @Core (Int) -> Bool,
        _ respond: @escaping HTTPServer.Handler
    ) {
        self.limits = limits
        self.clock = clock
        self.hasMemory = hasMemory
        self.respond = respond
    }

    // MARK: Connections

    /// Serves a connection in a task of its own.
    ///
    /// A task group would do the same for 8 kB more of the Swift runtime in each image.
    @export(interface)
    func serve(_ stream: any ByteStream) {
        guard !isCancelled else { return stream.close() }
        let connection = HTTPConnection(stream, self)
        count += 1
        busy.append(connection)
        claim(connection)
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
        yieldClaim(connection)
        waiting?.resume(true)
        ending?.resume(true)
    }

    /// The connection waits for a request's head from now on.
    func rest(_ connection: HTTPConnection) {
        guard !connection.isResting, !connection.isLeaving else { return }
        connection.isResting = true
        busy.remove(connection)
        resting.append(connection)
        yieldClaim(connection)
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
    @export(interface)
    func waitForRoom() async {
        while count - leaving >= limits.connections, resting.first == nil { await change() }
    }

    /// Makes room for a connection that has come; false if there is no memory for it in time. New
    /// clients wait in the backlog meanwhile.
    @export(interface)
    func makeRoom() async -> Bool {
        while count - leaving >= limits.connections {
            if !giveWay() { await change() }
        }
        let begin = clock.now
        while !hasConnectionMemory, count > 0 {
            giveMemory()
            // Memory comes back when others have been answered, or have given way. Those who wait
            // behind this client have had that time, too.
            let end = max((shortage ?? begin) + Self.patience, begin + Self.lastPatience)
            shortage = shortage ?? begin
            let ending = Waiter<Bool>()
            self.ending = ending
            guard await pause(.milliseconds(20), or: ending), clock.now < end else { return false }
        }
        shortage = nil
        return true
    }

    /// Has the connection that has rested longest give way; false if none rests.
    @inline(never) func giveWay() -> Bool {
        guard let connection = resting.first else { return false }
        work(connection)
        connection.isLeaving = true
        leaving += 1
        connection.giveWay()
        return true
    }

    /// Waits for so long, or until the waiter is resumed; false if the task was cancelled meanwhile.
    func pause(_ time: TimeSpan, or waiter: Waiter<Bool> = Waiter()) async -> Bool {
        let timer = clock.schedule(at: clock.now + time) { waiter.resume(true) }
        let isOver = await waiter.wait(cancelled: false)
        clock.cancel(timer)
        return isOver
    }

    /// Waits until all connections have ended.
    @export(interface)
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
        queued.forEach { $0.task?.cancel() }
        busy.forEach { $0.task?.cancel() }
    }

    /// Ends idle connections now and the others after the exchange they are in.
    @export(interface)
    func stop() {
        isStopping = true
        resting.forEach { if $0.isBetweenRequests { $0.stream.close() } }
    }
}
