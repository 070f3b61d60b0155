/// How a guest ends, as the launcher's exit status shows it.
///
/// The number goes to QEMU's `isa-debug-exit` as `status + 1`, which QEMU ends with as
/// `2 * (status + 1) + 1`; so no status of a guest is one of QEMU's own.
public struct ExitStatus: RawRepresentable, Equatable, Sendable {
    /// 0 to 126.
    public let rawValue: UInt8
    /// The given status; above 126 it is taken as 126.
    public init(rawValue: UInt8) { self.rawValue = min(rawValue, 126) }

    /// The service returned.
    public static let success = ExitStatus(rawValue: 0)
    /// The service threw.
    public static let failure = ExitStatus(rawValue: 1)
    /// The appliance could not be wired.
    public static let wiring = ExitStatus(rawValue: 2)
    /// The Swift program trapped.
    public static let trap = ExitStatus(rawValue: 101)
    /// The Swift runtime found no memory.
    public static let outOfMemory = ExitStatus(rawValue: 102)
    /// An access below the first mapped page.
    public static let nullAccess = ExitStatus(rawValue: 110)
    /// A store to text or constants.
    public static let writeProtection = ExitStatus(rawValue: 111)
    /// An instruction fetch from data.
    public static let executeProtection = ExitStatus(rawValue: 112)
    /// A stack ran into its guard page.
    public static let stackOverflow = ExitStatus(rawValue: 113)
    /// Any other processor exception.
    public static let exception = ExitStatus(rawValue: 114)
}

#if hasFeature(Embedded)
import CMicroVM

/// Ends the machine.
enum PowerOff {
    private static let debugExit: UInt16 = 0x501

    /// Powers off with `status`. Where there is no `isa-debug-exit`, resets the machine by a
    /// triple fault, which ends QEMU under `-no-reboot`.
    static func now(_ status: ExitStatus) -> Never {
        toro_out32(debugExit, UInt32(status.rawValue) + 1)
        // SAFETY: an empty interrupt table makes the next exception a triple fault.
        unsafe toro_lidt(UnsafeRawPointer(bitPattern: 4096).unsafelyUnwrapped, 0)
        toro_raise()
    }
}
#endif
