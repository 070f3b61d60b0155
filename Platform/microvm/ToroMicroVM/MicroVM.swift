import CMicroVM
import MachineDescription
import ToroCore
import ToroVirtio

/// The machine an appliance is wired on: its arguments and its devices.
///
/// A unit adds its own words in an extension of ``VirtioBus``: `vm.virtioFS(tag:)`, `vm.vsock()`.
@Core public final class MicroVM {
    /// The service's arguments: what stands behind `--` of `toro run`.
    public let arguments: [String]

    let slots: [MMIODevice]
    var claimed: [Int] = []
    private let environment: [(name: [UInt8], value: [UInt8])]

    #if hasFeature(Embedded)
    init(words: KernelCommandLine) {
        arguments = words.arguments.map { String(decoding: $0, as: UTF8.self) }
        environment = words.environment
        slots = words.devices
    }
    #else
    init() {
        arguments = []
        environment = []
        slots = []
    }
    #endif

    /// The value `toro run --env NAME=VALUE` gave, the last one if there are several.
    public func environment(_ name: String) -> String? {
        let wanted = Array(name.utf8)
        for entry in environment.reversed() where entry.name == wanted {
            return String(decoding: entry.value, as: UTF8.self)
        }
        return nil
    }
}
