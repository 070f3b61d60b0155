import Foundation

/// One of the guests that an edit loop boots, on a thread of its own. They take turns at ports where
/// the host listens.
final class Generation {
    /// What became of a guest.
    enum Event {
        /// Its service listens on a port.
        case ready(PublishedPort)
        /// It has not in the time it has.
        case silent(PublishedPort)
        /// Its turn is over, and so is its last connection.
        case left
        /// It ended, with its status or why there is none.
        case ended(Result<Int32, LaunchError>)
    }

    let id: Int
    /// What it was booted from.
    let plan: EditLoop.Plan
    /// When what it is built from was saved; nil for the first one.
    let saved: ContinuousClock.Instant?
    /// The names of its ports.
    let ports: Set<String>
    /// The ports that have not been heard of yet.
    private(set) var unheard: [PublishedPort]
    /// The ports on which it listens.
    private(set) var ready: [PublishedPort] = []
    /// When it is ended, whatever its clients do; or, before its turn, when it is late.
    private(set) var deadline: ContinuousClock.Instant?

    private let thread: GuestThread
    /// The pipe whose bytes are its turn; -1 when that is over.
    private var turn: Int32

    /// Boots a guest; it calls `report` on its own thread.
    init(
        _ id: Int, _ plan: EditLoop.Plan, _ listening: [String: ListeningPort],
        saved: ContinuousClock.Instant?, report: @escaping @Sendable (Event) -> Void
    ) throws(LaunchError) {
        self.id = id
        self.plan = plan
        self.saved = saved
        ports = Set(listening.keys)
        // Its parts have some time to come up, and its service as long as it asks for.
        deadline = .now + .seconds(2 * Launch.patience + Double(plan.limits.readyTime ?? 10))
        unheard = listening.values.map(\.port)
        let (reader, writer) = try makePipe()
        turn = writer
        thread = GuestThread(Array(listening.values), turn: reader)
        Thread.detachNewThread { [thread] in
            report(.ended(Result { () throws(LaunchError) in try thread.run(plan, report) }))
        }
    }

    deinit {
        if turn >= 0 { close(turn) }
    }

    /// Whether its deadline is over.
    var isLate: Bool { deadline.map { .now >= $0 } ?? false }

    /// Takes what was heard of a port; true if no other one is waited for.
    func hear(of port: PublishedPort, isReady: Bool) -> Bool {
        if isReady, !ready.contains(port) { ready.append(port) }
        unheard.removeAll { $0 == port }
        return unheard.isEmpty
    }

    /// It may come up however late it is.
    func waitOn() { deadline = nil }

    /// It takes clients from now on.
    func takeTurn() {
        deadline = nil
        _ = writeAll(turn, [1])
    }

    /// It takes no more clients, and has some time for those that it has.
    func leave(within time: Duration) {
        close(turn)
        turn = -1
        deadline = .now + time
    }

    /// Ends it; it reports that.
    func stop() {
        deadline = nil
        thread.stop()
    }
}

/// What a guest's thread does, for as long as its parts live.
private final class GuestThread: @unchecked Sendable {
    // SAFETY (@unchecked): the ports and the pipe are the thread's own; the rest is only touched
    // under the lock.
    private var ports: [ListeningPort]
    private let turn: Int32
    private let lock = NSLock()
    private var end: (@Sendable () -> Void)?
    private var isStopped = false

    init(_ ports: [ListeningPort], turn: Int32) {
        self.ports = ports
        self.turn = turn
    }

    func run(
        _ plan: EditLoop.Plan, _ report: @escaping @Sendable (Generation.Event) -> Void
    ) throws(LaunchError) -> Int32 {
        let launch = try prepare(plan)
        launch.onReady = { report(.ready($0)) }
        launch.onSilent = { report(.silent($0)) }
        launch.onLeft = { report(.left) }
        launch.isRaw = plan.isRaw
        launch.onPanic = plan.onPanic
        launch.onStuck = plan.onStuck
        let end = launch.stop
        let isStopped = lock.withLock {
            self.end = end
            return self.isStopped
        }
        if isStopped { end() }
        return try launch.run()
    }

    private func prepare(_ plan: EditLoop.Plan) throws(LaunchError) -> Launch {
        defer {
            close(turn)
            // The device has them now: who closes a port is to be the last.
            ports.removeAll()
        }
        return try Launch(
            plan.machine, shares: plan.shares, listening: ports, device: plan.device,
            limits: plan.limits, turn: turn)
    }

    func stop() {
        let end = lock.withLock {
            isStopped = true
            return self.end
        }
        end?()
    }
}
