/// Looks, a while after a guest was shown something, whether it has noticed.
///
/// A notification can be lost where the guest's barriers do not order its accesses against another
/// process (QEMU before 8.1 leaves them out of a guest with one processor), or where an interrupt
/// goes astray. A guest that then sleeps would do so for ever: it is notified again. Costs a ring
/// one deadline while there is activity, and nothing without.
final class SignalWatch {
    /// How long a guest may take to notice, in milliseconds.
    static let delay = 50
    /// How often one that does not stir is notified again, each time after twice the time: it hangs,
    /// or its machine is paused.
    private static let limit = 6

    private let ring: Vring
    private let loop: EventLoop
    /// Notifies the guest again; false if it has not been given the last notification yet.
    private let notify: () -> Bool
    /// A notification that was late made the guest stir.
    private let found: () -> Void
    private var alarm: Int?
    private var shownAt: UInt64 = 0
    private var attempts = 0

    init(
        _ ring: Vring, loop: EventLoop, notify: @escaping () -> Bool, found: @escaping () -> Void
    ) {
        self.ring = ring
        self.loop = loop
        self.notify = notify
        self.found = found
    }

    /// The guest was shown something.
    func shown() {
        shownAt = loop.now
        if alarm == nil { look(after: SignalWatch.delay) }
    }

    /// The ring is not used any more.
    func end() {
        if let alarm { loop.cancel(alarm) }
        alarm = nil
    }

    private func look(after milliseconds: Int) {
        alarm = loop.after(milliseconds: milliseconds) { [weak self] in
            self?.alarm = nil
            self?.look()
        }
    }

    private func look() {
        if ring.hasStirred {
            found()
            rest()
        }
        let age = Int(loop.now - shownAt)
        guard age >= SignalWatch.delay else { return look(after: SignalWatch.delay - age) }
        guard ring.isOverlooked, attempts < SignalWatch.limit else { return rest() }
        if notify() { ring.remind(true) }
        look(after: SignalWatch.delay << attempts)
        attempts += 1
    }

    private func rest() {
        attempts = 0
        ring.remind(false)
    }
}
