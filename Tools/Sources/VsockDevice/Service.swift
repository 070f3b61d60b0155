import Glibc
import VhostUser

/// The device of one guest as a program of its own runs it: from the first listener to the end of
/// the front end, or of a guest that breaks its rings.
public final class Service {
    let guest: Guest
    private let loop: EventLoop
    private let announce: (String) -> Void
    private var door: FrontDoor?
    private var turn: Turn?
    private var failure: HostError?

    /// A guest with that address. `announce` gets the lines `listening HOST:PORT GUESTPORT` when a
    /// port is bound, `ready HOST:PORT GUESTPORT` when the guest listens, and
    /// `silent HOST:PORT GUESTPORT` when it has not in the time it has (`ready` may follow); for a
    /// Unix socket with `unix:PATH` as the address. `warn` gets what an operator should know of.
    public convenience init(
        cid: UInt64, limits: GuestLimits = GuestLimits(),
        announce: @escaping (String) -> Void, warn: @escaping (String) -> Void = { _ in }
    ) throws(HostError) {
        try self.init(
            cid: cid, limits: limits, loop: EventLoop(), announce: announce, warn: warn)
    }

    init(
        cid: UInt64, limits: GuestLimits, loop: EventLoop,
        announce: @escaping (String) -> Void, warn: @escaping (String) -> Void = { _ in }
    ) {
        self.loop = loop
        guest = Guest(cid: cid, limits: limits, loop: loop)
        self.announce = announce
        guest.onReady = { announce("ready \($0) \($1)") }
        // At each power of two: said at once, and never a flood.
        guest.onLateSignal = { count in
            guard count & (count - 1) == 0 else { return }
            warn("guest \(cid) missed \(count) interrupts, which were repeated")
        }
        guest.onSilent = { announce("silent \($0) \($1)") }
        // One guest is all there is to serve: without it the program has nothing left to do.
        guest.onBroken = { [unowned self] in finish($0) }
        guest.onEnd = { [unowned self] in finish($0) }
    }

    deinit {
        door?.close()
        turn?.close()
        guest.onEnd = { _ in }
        guest.end()
    }

    /// Listens on the host for a port of the guest.
    public func publish(_ address: HostAddress, guestPort: UInt32) throws(HostError) {
        publish(try address.listen(), guestPort: guestPort)
    }

    /// Takes the clients of a socket that listens, for a port of the guest.
    public func publish(_ listener: HostListener, guestPort: UInt32) {
        guest.publish(listener, guestPort: guestPort)
        announce("listening \(listener.address) \(guestPort)")
    }

    /// Has the guest take turns with others at their listeners: it takes clients from the first byte
    /// that comes from `file`, a pipe, until that ends; then it leaves, and `left` is announced when
    /// its last connection is over.
    public func takeTurns(_ file: Int32) throws(HostError) {
        guest.waitForTurn()
        guest.onLeft = { [announce] in announce("left") }
        turn = try Turn(file, guest)
    }

    /// Waits for the front end at a Unix socket.
    public func open(_ path: String) throws(HostError) { door = try FrontDoor(path, guest) }

    /// Serves until the front end is gone; throws if that was no orderly end, or if the guest broke
    /// its rings.
    public func run() throws(HostError) {
        try loop.run()
        if let failure { throw failure }
    }

    private func finish(_ reason: HostError?) {
        failure = failure ?? reason
        loop.stop()
    }
}

/// Waits for QEMU.
private final class FrontDoor: EventSource {
    private let listener: HostListener
    private let guest: Guest
    private var registration: EventLoop.Registration?

    init(_ path: String, _ guest: Guest) throws(HostError) {
        self.guest = guest
        listener = try HostAddress.unix(path: path).listen()
        registration = try guest.loop.add(listener.files[0], .readable, self)
    }

    func handle(_ events: Events) {
        let socket = listener.accept()
        guard socket >= 0 else { return }
        // A second front end is refused: its socket is closed.
        try? guest.attach(socket)
    }

    func close() {
        if let registration { guest.loop.remove(registration) }
        registration = nil
        listener.close()
    }
}

/// Hears when the guest's turn begins and when it is over.
private final class Turn: EventSource {
    private let file: Int32
    private let guest: Guest
    private var registration: EventLoop.Registration?

    init(_ file: Int32, _ guest: Guest) throws(HostError) {
        self.file = file
        self.guest = guest
        guard fcntl(file, F_SETFL, O_NONBLOCK) == 0 else {
            throw .system("cannot read turns from descriptor \(file)")
        }
        registration = try guest.loop.add(file, .readable, self)
    }

    func handle(_ events: Events) {
        var byte: UInt8 = 0
        // SAFETY: one byte, which outlives the call.
        switch unsafe read(file, &byte, 1) {
        case 1: guest.open()
        case 0:
            close()
            guest.leave()
        default: break
        }
    }

    func close() {
        if let registration {
            guest.loop.remove(registration)
            _ = Glibc.close(file)
        }
        registration = nil
    }
}
