import CHostShims
import Glibc
import VhostUser

/// A listener of the host whose connections go to a port of a guest.
///
/// It accepts once the guest listens: clients that come earlier wait in the backlog. Whether it
/// does is found out by asking for a connection, which is reset at once.
final class Publication: EventSource {
    /// Connections that the guest may leave unanswered before further clients wait outside.
    private static let pendingLimit = 64
    private static let firstProbeDelay = 2
    private static let lastProbeDelay = 250

    let guestPort: UInt32
    private let listener: Int32
    private unowned let guest: Guest
    private var registration: EventLoop.Registration?
    private var isReady = false
    private var isProbing = false
    private var probeDelay = Publication.firstProbeDelay
    private var mayAccept = false
    /// Whether the guest has ever listened.
    private(set) var wasReady = false

    init(_ listener: Int32, _ guest: Guest, guestPort: UInt32) throws(HostError) {
        self.listener = listener
        self.guest = guest
        self.guestPort = guestPort
    }

    deinit { close(listener) }

    /// Stops listening.
    func end() {
        if let registration { guest.loop.remove(registration) }
        registration = nil
        isReady = false
    }

    /// Waits for the guest again.
    func pause() {
        end()
        isProbing = false
        probeDelay = Publication.firstProbeDelay
    }

    /// Asks the guest whether it listens, unless that is known or asked.
    func probe() {
        guard !isReady, !isProbing else { return }
        isProbing = true
        guest.probe(self)
    }

    /// The guest does not listen yet.
    func probeLater() {
        guard isProbing else { return }
        guest.loop.after(milliseconds: probeDelay) { [weak self] in
            guard let self, self.isProbing else { return }
            self.isProbing = false
            self.probe()
        }
        probeDelay = min(probeDelay * 2, Publication.lastProbeDelay)
    }

    /// The guest listens.
    func ready() {
        isProbing = false
        isReady = true
        wasReady = true
        registration = try? guest.loop.add(listener, [.readable, .edges], self)
    }

    func handle(_ events: Events) {
        mayAccept = true
        resume()
    }

    /// Accepts the clients that wait, as long as the guest keeps up.
    func resume() {
        guard isReady, mayAccept else { return }
        var room = Publication.pendingLimit - guest.pendingCount(guestPort: guestPort)
        while room > 0 {
            let file = toro_accept(listener)
            if file >= 0 {
                room -= 1
                guest.connect(file, guestPort: guestPort)
            } else if errno == EAGAIN {
                mayAccept = false
                return
            } else if errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS {
                // Clients wait in the backlog until descriptors are free again.
                guest.loop.after(milliseconds: 100) { [weak self] in self?.resume() }
                return
            }
        }
    }
}
