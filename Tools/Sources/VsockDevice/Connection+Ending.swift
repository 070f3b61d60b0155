import CHostShims
import Glibc
import VhostUser

/// Bytes on their way to the client, and the end of a connection.
extension Connection {
    // MARK: Looks

    /// How long bytes may sit in the socket before a look whether they still do, in milliseconds;
    /// and the longest time between looks when they do.
    static let lookDelay = 1_000
    private static let lastLookDelay = 8_000
    /// The same for a guest that may be waiting for the news.
    static let firstLookDelay = 1

    /// Whether the guest may be about to wait until it hears what has left the socket. Linux has no
    /// more bytes under way than fit into its own buffer, whatever room it is promised
    /// (virtio_transport_tx_buf_size, in stable kernels from 2026 on).
    var isReportAwaited: Bool { guest.keepsToOwnBuffer && credit.isReportAwaited }

    func wake(after milliseconds: Int) {
        if let alarm { guest.loop.cancel(alarm) }
        alarm = guest.loop.after(milliseconds: milliseconds) { [weak self] in
            guard let self else { return }
            alarm = nil
            phase == .refused ? requestAgain() : look()
        }
    }

    /// Looks whether bytes have left the socket; true if some have since the last time.
    @discardableResult
    func measure() -> Bool {
        guard credit.isUndelivered else { return false }
        let unsent = Int(toro_unsent(file))
        guard unsent >= 0, credit.deliver(unsent: unsent) else { return false }
        since = guest.loop.now
        return true
    }

    /// Tells the guest what has left the socket, and tries to write: a socket takes bytes long before
    /// it says so, when a third of it is free.
    private func look() {
        flush()
        if measure() {
            delay = isReportAwaited ? max(delay / 2, 1) : Connection.lookDelay
        } else {
            delay = min(delay * 2, Connection.lastLookDelay)
        }
        if phase == .draining { return settle() }
        guard phase == .established else { return }
        if credit.isReportDue { owed.insert(.creditUpdate) }
        guest.receive.schedule(self)
        if credit.isUndelivered || !pending.isEmpty { wake(after: delay) }
    }

    // MARK: Dismissal

    /// Tells the guest that the client sends no more if the connection has rested since the last
    /// call: nothing is under way, and the client owes the next word. A service ends a connection in
    /// its own order then; a client that speaks just now finds it ended, as at the end of the time
    /// that any server gives a connection to rest.
    func dismissIfAtRest() {
        defer { hasMoved = false }
        guard phase == .established, !hasMoved, isAnswered, !isDismissed, !clientFinished,
            !isReadable, pending.isEmpty
        else { return }
        measure()
        guard !credit.isUndelivered else { return }
        isDismissed = true
        owed.insert(.shutdown)
        guest.receive.schedule(self)
    }

    // MARK: The end

    /// How long a client is waited for that has everything, in milliseconds, and how many bytes of
    /// it are read and dropped meanwhile: closing a socket with bytes unread would take back what
    /// the client has not read yet. It is waited for as long as nobody else needs its place.
    private static let lingerTime: UInt64 = 30_000
    private static let dropLimit = 64 << 20
    /// What is dropped in one go, so that one client does not starve others.
    private static let dropBurst = 256 << 10
    private static let firstDrainDelay = 50

    /// The guest is done in order: what it sent before still reaches the client.
    func leave() {
        phase = .draining
        owed = []
        since = guest.loop.now
        delay = Connection.firstDrainDelay
        account()
        drop()
        settle()
    }

    /// Reads and drops what the client sends to a guest that does not receive.
    func drop() {
        guard phase == .draining || guestIsDeaf && phase == .established else { return }
        let end = dropped + Connection.dropBurst
        while isReadable, !clientFinished, dropped < Connection.dropLimit {
            guard dropped < end else {
                guest.loop.next { [weak self] in
                    self?.drop()
                    self?.settle()
                }
                return
            }
            let count = toro_discard(file)
            if count > 0 {
                dropped += count
            } else if count == 0 {
                clientFinished = true
                if phase == .established { owed.insert(.shutdown) }
            } else if errno == EAGAIN {
                isReadable = false
            } else if errno != EINTR {
                return fail()
            }
        }
    }

    /// Ends a connection that drains when its client has everything, or takes nothing any more.
    func settle() {
        guard phase == .draining else { return }
        let now = guest.loop.now
        if pending.isEmpty { halfClose() }
        measure()
        guard pending.isEmpty, toro_unsent(file) <= 0 else {
            let stall = UInt64(guest.limits.stallTime) * 1000
            guard now - since < stall else { return release(orderly: false) }
            return wake(after: min(delay, Int(since + stall - now)))
        }
        let end = lingerEnd ?? now + Connection.lingerTime
        if clientFinished || dropped >= Connection.dropLimit || now >= end {
            return release(orderly: true)
        }
        wake(after: Int(end - now))
        guard lingerEnd == nil else { return }
        lingerEnd = end
        guest.rests(self)
    }

    /// Ends what is left when the guest's device stops or is gone.
    func end() { release(orderly: isHalfClosed && pending.isEmpty) }

    /// Closes the socket; with RST unless in order, so that the client can tell.
    func release(orderly: Bool) {
        guard let registration else { return }
        self.registration = nil
        if let alarm { guest.loop.cancel(alarm) }
        alarm = nil
        guest.loop.remove(registration)
        if orderly { close(file) } else { reset(file) }
        if phase == .requesting || phase == .refused {
            publication.answered(self, isAccepted: false)
        }
        phase = .over
        pending.removeAll()
        guest.connections.released(self, charge: charge)
        charge = 0
    }
}
