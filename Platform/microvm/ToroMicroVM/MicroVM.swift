import CMicroVM
import MachineDescription
import ToroCore
import ToroVirtio

/// The machine an appliance is wired on: its arguments and its devices.
///
/// A unit adds its own words in an extension of ``VirtioBus``: `vm.virtioFS(tag:)`, `vm.vsock()`.
@Core public final class MicroVM {
    let slots: ObjectList<MMIODevice>
    /// A bit for each slot whose device has a driver.
    var claimed: UInt64 = 0

    #if hasFeature(Embedded)
    init() { slots = unsafe Machine.devices }
    #else
    init() { slots = ObjectList() }
    #endif

    /// What the launcher handed over through the firmware configuration device, read when it is
    /// first asked for; nil on a machine without it, where the kernel's command line counts.
    private lazy var parameters: [UInt8]? = MicroVM.handedOver()

    /// The service's arguments: what stands behind `--` of `toro run`.
    public var arguments: [String] {
        argumentBytes.map { String(decoding: $0, as: UTF8.self) }
    }

    /// The service's arguments, which may hold any bytes.
    public var argumentBytes: [[UInt8]] {
        if let parameters { return LaunchParameters.arguments(in: parameters.span.raw) }
        return KernelCommandLine.arguments(in: commandLine)
    }

    /// Whether `toro run --env` gave this name, with whatever value.
    public func isSet(_ name: StaticString) -> Bool {
        // SAFETY: a static string has utf8CodeUnitCount bytes behind utf8Start.
        let wanted = unsafe UnsafeBufferPointer(
            start: name.utf8Start, count: name.utf8CodeUnitCount)
        return unsafe value(of: wanted.span.raw) != nil
    }

    /// The value that `toro run` was given for a name by `--env` or `--env-file`, the last one if
    /// there are several; nil if there is none.
    public func environment(_ name: String) -> String? {
        environmentBytes(name).map { String(decoding: $0, as: UTF8.self) }
    }

    /// The same, for a value that may hold any bytes.
    public func environmentBytes(_ name: String) -> [UInt8]? {
        let wanted = Array(name.utf8)
        return value(of: wanted.span.raw)
    }

    private func value(of name: RawSpan) -> [UInt8]? {
        if let parameters {
            return LaunchParameters.environment(in: parameters.span.raw) { isSame($0, name) }
        }
        return KernelCommandLine.environment(in: commandLine) { isSame($0, name) }
    }

    private func isSame(_ name: RawSpan, _ other: RawSpan) -> Bool {
        guard name.byteCount == other.byteCount else { return false }
        for offset in 0..<name.byteCount {
            // SAFETY: the offset is below the length of both.
            guard
                unsafe name.unsafeLoad(fromByteOffset: offset, as: UInt8.self)
                    == other.unsafeLoad(fromByteOffset: offset, as: UInt8.self)
            else { return false }
        }
        return true
    }

    private static func handedOver() -> [UInt8]? {
        #if hasFeature(Embedded)
        guard let file = unsafe Machine.parameters else { return nil }
        guard let bytes = file.contents(in: FirmwarePorts()),
            LaunchParameters.areValid(bytes.span.raw)
        else {
            // A service that went on without its environment might do something else than meant.
            Console.write("toro: the environment that the launcher handed over is malformed\n")
            PowerOff.now(.wiring)
        }
        return bytes
        #else
        return nil
        #endif
    }

    private var commandLine: RawSpan {
        @_lifetime(immortal)
        get {
            #if hasFeature(Embedded)
            // SAFETY: the range is reserved, and nothing writes there.
            return unsafe PhysicalMemory.span(
                Machine.commandLine.address, Machine.commandLine.length)
            #else
            return RawSpan()
            #endif
        }
    }
}
