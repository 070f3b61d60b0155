import Glibc
import VhostUser

/// A listener of the host whose connections go to a port of a guest.
///
/// It accepts once the guest listens: clients that come earlier wait in the backlog. Whether it
/// does is found out by asking for a connection, which is reset at once. A guest that does not
/// listen in time has its clients turned away until it does; while its rings are broken they are
/// turned away too: nobody would ever answer them.
final class Publication: EventSource {
    enum State {
        /// The guest has no driver.
        case waiting
        /// Whether the guest listens is being asked.
        case asking
        /// It does.
        case serving
        /// It has not in the time it has; it is asked on.
        case silent
        /// Its rings are broken.
        case broken
    }

    /// Connections that the guest may leave unanswered before further clients wait outside, and
    /// clients that are turned away in one go.
    private static let pendingLimit = 64
    private static let firstProbeDelay = 2
    private static let lastProbeDelay = 250
    /// How long clients wait for free descriptors before the next look, in milliseconds.
    private static let acceptDelay = 100

    let guestPort: UInt32
    let listener: HostListener
    private unowned let guest: Guest
    private(set) var state = State.waiting
    /// There while clients are accepted, to be served or to be turned away.
    private var registrations: [EventLoop.Registration] = []
    private var mayAccept = false
    private var probeDelay = Publication.firstProbeDelay
    /// Connections that the guest has not answered, and those of them that it has refused.
    private var pendingCount = 0
    private var refusedCount = 0
    /// When the guest last accepted a connection.
    private var acceptedAt: UInt64 = 0
    private var isAnnounced = false

    /// The next probe, the next look for clients, and the end of the guest's time.
    private var probeAlarm: Int?
    private var acceptAlarm: Int?
    private var silenceAlarm: Int?

    init(_ listener: HostListener, _ guest: Guest, guestPort: UInt32) {
        self.listener = listener
        self.guest = guest
        self.guestPort = guestPort
    }

    /// Stops listening.
    func end() {
        pause()
        listener.close()
    }

    /// Waits for the guest's driver again.
    func pause() { enter(.waiting) }

    private func enter(_ state: State) {
        self.state = state
        for registration in registrations { guest.loop.remove(registration) }
        registrations.removeAll()
        cancel(&probeAlarm)
        cancel(&acceptAlarm)
        cancel(&silenceAlarm)
    }

    private func cancel(_ alarm: inout Int?) {
        if let alarm { guest.loop.cancel(alarm) }
        alarm = nil
    }

    // MARK: Asking

    /// The guest's driver is there: asks whether the guest listens, unless that is known or asked.
    func ask() {
        guard state == .waiting || state == .broken else { return }
        enter(.asking)
        probeDelay = Publication.firstProbeDelay
        silenceAlarm = guest.loop.after(milliseconds: guest.limits.readyTime * 1000) {
            [weak self] in
            self?.silenceAlarm = nil
            self?.fallSilent()
        }
        guest.probe(self)
    }

    /// The guest does not listen now.
    func probeLater() {
        guard state == .asking || state == .silent, probeAlarm == nil else { return }
        probeAlarm = guest.loop.after(milliseconds: probeDelay) { [weak self] in
            guard let self else { return }
            probeAlarm = nil
            guest.probe(self)
        }
        probeDelay = min(probeDelay * 2, Publication.lastProbeDelay)
    }

    /// The guest listens.
    func ready() {
        guard state == .asking || state == .silent else { return }
        enter(.serving)
        acceptedAt = guest.loop.now
        if !isAnnounced { guest.onReady(listener.address, guestPort) }
        isAnnounced = true
        accept()
    }

    /// The guest has not listened in time: those who wait hear of it, and are not kept waiting.
    private func fallSilent() {
        state = .silent
        isAnnounced = false
        guest.onSilent(listener.address, guestPort)
        accept()
    }

    /// Turns away the clients that wait and all that come, until the guest begins anew.
    func refuse() {
        enter(.broken)
        accept()
    }

    // MARK: Clients

    /// The guest's turn has come.
    func open() {
        guard registrations.isEmpty, [.serving, .silent, .broken].contains(state) else { return }
        accept()
    }

    private func accept() {
        guard guest.isOpen else { return }
        mayAccept = true
        registrations = listener.files.compactMap {
            try? guest.loop.add($0, [.readable, .edges], self)
        }
    }

    func handle(_ events: Events) {
        mayAccept = true
        resume()
    }

    /// Accepts the clients that wait, as long as the guest keeps up and may have more.
    func resume() {
        guard !registrations.isEmpty, mayAccept else { return }
        let isServing = state == .serving
        for _ in 0..<Publication.pendingLimit {
            if isServing {
                // The next answer resumes.
                guard pendingCount < Publication.pendingLimit, refusedCount == 0 else { return }
                guard guest.makesRoom(for: listener) else { return guest.hold(self) }
            }
            let file = listener.accept()
            if file >= 0 {
                isServing ? connect(file) : reset(file)
            } else if errno == EAGAIN {
                mayAccept = false
                return
            } else if errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS {
                // Clients wait in the backlog until descriptors are free again.
                return resume(after: Publication.acceptDelay)
            }
        }
        // Others have their turn before the next of these.
        resume(after: 0)
    }

    private func resume(after milliseconds: Int) {
        guard acceptAlarm == nil else { return }
        acceptAlarm = guest.loop.after(milliseconds: milliseconds) { [weak self] in
            self?.acceptAlarm = nil
            self?.resume()
        }
    }

    private func connect(_ file: Int32) {
        if guest.connect(file, to: self) { pendingCount += 1 }
    }

    /// The guest refused a connection for the first time.
    func refused() { refusedCount += 1 }

    /// The guest accepted a connection, or it is over before.
    func answered(_ connection: Connection, isAccepted: Bool) {
        pendingCount -= 1
        if connection.wasRefused { refusedCount -= 1 }
        if isAccepted { acceptedAt = guest.loop.now }
        if mayAccept, refusedCount == 0 { resume(after: 0) }
    }

    /// A client was refused for as long as that may be. If nobody was accepted meanwhile, the guest
    /// may have stopped listening: it is asked.
    func gaveUp() {
        guard state == .serving, guest.loop.now - acceptedAt >= Connection.refusalTime else {
            return
        }
        pause()
        ask()
    }
}

/// Closes a client's socket with RST, so that the client can tell it from an orderly end.
func reset(_ file: Int32) {
    var linger = linger(l_onoff: 1, l_linger: 0)
    // SAFETY: the structure outlives the call.
    _ = unsafe setsockopt(
        file, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout.size(ofValue: linger)))
    close(file)
}
