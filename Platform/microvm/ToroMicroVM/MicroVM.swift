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

    /// The service's arguments: what stands behind `--` of `toro run`.
    public var arguments: [String] {
        KernelCommandLine.arguments(in: commandLine).map { String(decoding: $0, as: UTF8.self) }
    }

    /// Whether `toro run --env NAME=VALUE` gave this name, with whatever value.
    public func isSet(_ name: StaticString) -> Bool {
        // SAFETY: a static string has utf8CodeUnitCount bytes behind utf8Start.
        let wanted = unsafe UnsafeBufferPointer(
            start: name.utf8Start, count: name.utf8CodeUnitCount)
        let value = KernelCommandLine.environment(in: commandLine) {
            unsafe $0.elementsEqual(wanted)
        }
        return value != nil
    }

    /// The value `toro run --env NAME=VALUE` gave, the last one if there are several.
    public func environment(_ name: String) -> String? {
        let wanted = Array(name.utf8)
        return KernelCommandLine.environment(in: commandLine) { $0 == wanted }
            .map { String(decoding: $0, as: UTF8.self) }
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
