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
}
