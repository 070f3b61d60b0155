import Glibc
import VhostUser

/// The virtio-vsock device of one guest, and the connections of its published ports. A process can
/// have many guests on one event loop.
public final class Guest: VhostUserBackend {
    /// The well-known address of the host (VIRTIO 1.2, 5.10.4).
    static let hostCID: UInt64 = 2
    static let receiveQueue = 0
    static let transmitQueue = 1
    /// The bytes that a socket keeps for its client beyond what is on its way, in the host's memory:
    /// it would take megabytes for clients that do not read, of which all of a host's connections
    /// have a limited number. It says that it is writable when half of them are gone.
    private static let unsentLimit: Int32 = 128 << 10

    /// The loop that everything of this guest runs on.
    public let loop: EventLoop
    /// The guest's address.
    public let cid: UInt64
    /// What the guest may cost.
    public let limits: GuestLimits
    /// Called when the guest listens on a published port for the first time, or after it was silent:
    /// with where the host listens for it, and the guest's port.
    public var onReady: (HostAddress, UInt32) -> Void = { _, _ in }
    /// Called when the guest does not listen on a published port within its time. The port's clients
    /// are reset until it does.
    public var onSilent: (HostAddress, UInt32) -> Void = { _, _ in }
    /// Called when the guest broke a queue, with what it broke and how in words. Its connections are
    /// reset and its clients turned away, until its driver begins anew.
    public var onBroken: (HostError) -> Void = { _ in }
    /// Called when an interrupt had to be repeated because the guest had not noticed it; with how many
    /// that were. Never in normal runs.
    public var onLateSignal: (Int) -> Void = { _ in }
    /// Called when the front end is gone; with the reason if it was no orderly end.
    public var onEnd: (HostError?) -> Void = { _ in }

    /// Called when the guest has left and its last connection is over.
    public var onLeft: () -> Void = {}

    private(set) var session: VhostUserSession?
    /// Whether it is the guest's turn to take clients of its published ports.
    private(set) var isOpen = true
    private var publications: [Publication] = []
    private(set) lazy var connections = ConnectionTable(self)
    private(set) lazy var receive = ReceivePump(self)
    private(set) lazy var transmit = TransmitPump(self)
    private(set) var budget: MemoryBudget
    /// Publications whose clients wait until the guest may have another connection.
    private(set) var held: [Publication] = []
    private lazy var admission = ResumeOnce(loop) { [unowned self] in
        let all = held
        held.removeAll()
        for publication in all { publication.resume() }
    }

    /// Packets of the guest that broke the protocol.
    public private(set) var violationCount = 0
    /// Interrupts that had to be repeated because the guest had not noticed the first: none in normal
    /// runs.
    public private(set) var lateSignals = 0

    /// Whether the guest has never had more bytes of a connection under way than fit into its own
    /// buffer: it may not go on until it hears what has left.
    var keepsToOwnBuffer = true

    /// A guest with that address, without a front end yet.
    public init(cid: UInt64, limits: GuestLimits = GuestLimits(), loop: EventLoop) {
        self.cid = cid
        self.limits = limits
        self.loop = loop
        budget = MemoryBudget(limits)
    }

    /// Connections whose socket is open.
    public var openCount: Int { budget.connections }

    /// The bytes that are kept for clients, or promised to be: at most ``GuestLimits/memoryBudget``.
    public var memoryUsed: Int { budget.used }

    /// Serves the front end at the other end of `socket`.
    public func attach(_ socket: Int32) throws(HostError) {
        guard session == nil else {
            close(socket)
            throw HostError("the guest has a front end already")
        }
        session = try VhostUserSession(socket, loop: loop, backend: self)
    }

    /// Whether there is a front end.
    public var isAttached: Bool { session != nil }

    /// Joins connections to `listener`, which the guest closes, to a port of the guest. They wait
    /// in the listener's backlog until the guest listens.
    public func publish(_ listener: HostListener, guestPort: UInt32) {
        publications.append(Publication(listener, self, guestPort: guestPort))
    }

    /// Leaves clients of the published ports to others until `open`: the listeners may be shared.
    public func waitForTurn() { isOpen = false }

    /// Takes clients of the published ports from now on.
    public func open() {
        isOpen = true
        for publication in publications { publication.open() }
    }

    /// Leaves further clients of the published ports to others, and ends the connections there are
    /// as their clients are done with them (see `ConnectionTable.dismiss`).
    public func leave() {
        isOpen = false
        for publication in publications { publication.end() }
        publications.removeAll()
        dismiss()
    }

    /// How long a connection must rest before it counts as done with, in milliseconds.
    private static let restTime = 50

    private func dismiss() {
        guard openCount > 0 else { return onLeft() }
        connections.dismiss()
        loop.after(milliseconds: Guest.restTime) { [weak self] in self?.dismiss() }
    }

    /// Drops the front end, the published ports and all connections. A guest that has a front end
    /// or published ports must be ended before it goes away: the loop knows it.
    public func end() {
        session?.end()
        for publication in publications { publication.end() }
        publications.removeAll()
    }

    // MARK: VhostUserBackend

    /// See ``VhostUser/VhostUserBackend``.
    public var deviceFeatures: UInt64 { 0 }
    /// Receive, transmit and event queue (VIRTIO 1.2, 5.10.2).
    public var queueCount: Int { 2 }
    /// The guest CID (5.10.4).
    public var configuration: [UInt8] { cid.littleEndianBytes }

    /// A queue may be used from now on.
    public func queueStarted(_ index: Int) {
        _ = session?.ring(index)?.arm()
        if index == Guest.transmitQueue { _ = transmit.pump() } else { receive.pump() }
        guard session?.ring(0) != nil, session?.ring(1) != nil else { return }
        for publication in publications { publication.ask() }
    }

    /// The guest has put something into a queue.
    public func queueKicked(_ index: Int) {
        if index == Guest.transmitQueue { transmit.kicked() } else { receive.kicked() }
    }

    /// A queue is about to stop: with the first one the connections end, so the guest's last words
    /// are taken, whichever it is.
    public func queueStops(_ index: Int) { transmit.finish() }

    /// A queue must not be touched any more.
    public func queueStopped(_ index: Int) { forgetConnections() }

    /// An interrupt had to be repeated.
    public func signalWasLate(_ index: Int) {
        lateSignals += 1
        onLateSignal(lateSignals)
    }

    /// The front end is gone: every connection of the guest ends.
    public func disconnected(_ reason: HostError?) {
        forgetConnections()
        connections.endDraining()
        session = nil
        onEnd(reason)
    }

    private func forgetConnections() {
        for publication in publications { publication.pause() }
        receive.clear()
        connections.forgetAll()
    }

    // MARK: Connections

    /// Requests a connection for a client; closes it if that cannot be.
    func connect(_ file: Int32, to publication: Publication) -> Bool {
        set(TCP_NODELAY, of: file, to: 1)
        set(TCP_NOTSENT_LOWAT, of: file, to: Guest.unsentLimit)
        let port = connections.freePort()
        guard let connection = try? Connection(file, self, publication, hostPort: port) else {
            return false
        }
        connections.insert(connection)
        receive.schedule(connection)
        return true
    }

    /// Sets a TCP option, if the socket has it: a Unix socket has not.
    private func set(_ option: Int32, of file: Int32, to value: Int32) {
        var value = value
        // SAFETY: the number outlives the call.
        _ = unsafe setsockopt(file, Int32(IPPROTO_TCP), option, &value, 4)
    }

    /// Asks whether anybody listens on the port.
    func probe(_ publication: Publication) {
        let port = connections.freePort()
        connections.insert(probe: publication, from: port)
        var packet = VsockPacket()
        packet.operation = VsockOperation.request.rawValue
        packet.sourcePort = port
        packet.destinationPort = publication.guestPort
        receive.post(packet)
    }

    // MARK: Limits

    /// A connection is there and takes part in the budget.
    func opened() { budget.open() }

    /// A connection is charged another sum.
    func charge(from old: Int, to new: Int) {
        budget.change(from: old, to: new)
        if new < old { admit() }
    }

    /// A connection is over.
    func closed(charge: Int) {
        budget.close(charge: charge)
        admit()
    }

    /// A connection is merely waited for: it gives way to a client that waits.
    func rests(_ connection: Connection) {
        connections.rests(connection)
        if !held.isEmpty { admission.soon() }
    }

    /// Whether there is room for a further connection. One whose client has everything gives way, if
    /// there is somebody to give way to.
    func makesRoom(for listener: HostListener) -> Bool {
        if budget.isFull, listener.isAwaited { connections.endLongestResting() }
        return budget.admitsOne
    }

    /// Has a publication wait until the guest may have another connection.
    func hold(_ publication: Publication) {
        // A client that comes meanwhile has it look again.
        if !held.contains(where: { $0 === publication }) { held.append(publication) }
    }

    private func admit() {
        if !held.isEmpty, budget.admitsOne { admission.soon() }
    }

    // MARK: Guests that break the rules

    func countViolation() { violationCount += 1 }

    /// The guest broke a ring: it is not used any more, and the clients hear of it.
    func violate(_ index: Int, _ error: VringError) {
        violationCount += 1
        session?.abandon(index)
        for publication in publications { publication.refuse() }
        let queue = index == Guest.transmitQueue ? "transmit" : "receive"
        onBroken(
            HostError(
                """
                the vsock driver of guest \(cid) broke its \(queue) queue (number \(index)): \(error). \
                Its connections are reset; it must be started again, and its driver mended
                """))
    }
}
