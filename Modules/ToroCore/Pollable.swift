/// A device driver as the run loop sees it.
///
/// Interrupts only wake the core (rule 2 of the house). The loop polls each driver while there is
/// work, with the device's notifications off, and arms them again before it halts:
///
///     busy ── poll() finds nothing anywhere ──▶ arm() ── true for all ──▶ halted
///      ▲                                          │                         │
///      └────────── false: work came meanwhile ────┘      disarm() ◀── interrupt
@Core public protocol Pollable: AnyObject {
    /// Takes what the device has finished; true if there was anything. Must return after a
    /// bounded amount of work.
    func poll() -> Bool

    /// Asks the device for an interrupt on its next event. False if an event is already there,
    /// and the loop must poll again.
    func arm() -> Bool

    /// Tells the device that interrupts are not needed: the loop is polling.
    func disarm()

    /// What the device holds and gives back promptly; nil if that is nothing. Buffers that wait for
    /// a peer, such as receive buffers, are none of it.
    var debt: DeviceDebt? { get }

    /// Notifies the device once more of what it has not seen.
    func remind()
}

/// What a device holds of its driver's, as the run loop sees it: a notification can be lost on its
/// way, in either direction, and a core that waits for one that was lost waits for ever.
public struct DeviceDebt: Equatable, Sendable {
    /// Changes whenever the device takes something or gives something back.
    public var position: UInt64
    /// Whether the device has not taken all there is: it missed a notification, or is still busy.
    public var isUnseen: Bool

    /// The given debt.
    public init(position: UInt64, isUnseen: Bool) {
        self.position = position
        self.isUnseen = isUnseen
    }

    /// What a device with two queues owes, each of which holds up to 2^15 chains.
    public static func joined(_ one: DeviceDebt?, _ other: DeviceDebt?) -> DeviceDebt? {
        guard let one, let other else { return one ?? other }
        return DeviceDebt(
            position: one.position << 32 ^ other.position,
            isUnseen: one.isUnseen || other.isUnseen)
    }
}
