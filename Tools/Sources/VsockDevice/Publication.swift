import CHostShims
import Glibc
import VhostUser

/// A listener of the host whose connections go to a port of a guest.
///
/// It accepts once the guest listens: clients that come earlier wait in the backlog. Whether it
/// does is found out by asking for a connection, which is reset at once. While the guest's rings
/// are broken its clients are turned away instead: nobody would ever answer them.
final class Publication: EventSource {
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
    /// There while clients are accepted, to be served or to be turned away.
    private var registration: EventLoop.Registration?
    private var isRefusing = false
    private var isProbing = false
    private var probeDelay = Publication.firstProbeDelay
    private var mayAccept = false
    /// The next probe or the next look for clients: one at most is out.
    private var alarm: Int?
    /// Whether the guest has ever listened.
    private(set) var wasReady = false

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

    /// Waits for the guest again.
    func pause() {
        if let registration { guest.loop.remove(registration) }
        registration = nil
        if let alarm { guest.loop.cancel(alarm) }
        alarm = nil
        isRefusing = false
        isProbing = false
        probeDelay = Publication.firstProbeDelay
    }

    /// Asks the guest whether it listens, unless that is known or asked.
    func probe() {
        if isRefusing { pause() }
        guard registration == nil, !isProbing else { return }
        isProbing = true
        guest.probe(self)
    }

    /// The guest does not listen yet.
    func probeLater() {
        guard isProbing else { return }
        later(milliseconds: probeDelay) { publication in
            publication.isProbing = false
            publication.probe()
        }
        probeDelay = min(probeDelay * 2, Publication.lastProbeDelay)
    }

    /// The guest listens.
    func ready() {
        guard registration == nil else { return }
        pause()
        wasReady = true
        accept()
    }

    /// Turns away the clients that wait and all that come, until the guest begins anew.
    func refuse() {
        pause()
        isRefusing = true
        accept()
    }

    private func accept() {
        registration = try? guest.loop.add(listener.file, [.readable, .edges], self)
    }

    func handle(_ events: Events) {
        mayAccept = true
        resume()
    }

    /// Accepts the clients that wait, as long as the guest keeps up.
    func resume() {
        guard registration != nil, mayAccept else { return }
        let pending = isRefusing ? 0 : guest.pendingCount(guestPort: guestPort)
        var room = Publication.pendingLimit - pending
        while room > 0 {
            let file = toro_accept(listener.file)
            if file >= 0 {
                room -= 1
                if isRefusing {
                    reset(file)
                } else {
                    guest.connect(file, guestPort: guestPort)
                }
            } else if errno == EAGAIN {
                mayAccept = false
                return
            } else if errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS {
                // Clients wait in the backlog until descriptors are free again.
                later(milliseconds: Publication.acceptDelay) { $0.resume() }
                return
            }
        }
        // Others have their turn before the next of those that are turned away.
        if isRefusing { later(milliseconds: 0) { $0.resume() } }
    }

    /// Sets the alarm, unless it is set.
    private func later(milliseconds: Int, _ action: @escaping (Publication) -> Void) {
        guard alarm == nil else { return }
        alarm = guest.loop.after(milliseconds: milliseconds) { [weak self] in
            guard let self else { return }
            alarm = nil
            action(self)
        }
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
