import ToroCore
import ToroMicroVM
import ToroProcess

/// What the launcher hands over.
enum Parameters {
    @Core static var experiments: [Experiment] {
        [
            // How many bytes each argument and the value of VALUE have, and their FNV-1a hash.
            Experiment("parameters") { vm in
                for argument in vm.argumentBytes { print("argument " + describe(argument)) }
                if let value = vm.environmentBytes("VALUE") { print("value " + describe(value)) }
            },
            // Stays long enough to be looked at.
            Experiment("stay") { _ throws(ProbeError) in
                do throws(Cancelled) {
                    try await sleep(until: Core.clock.now + .seconds(60))
                } catch {
                    throw .failed("cancelled")
                }
            },
        ]
    }

    private static func describe(_ bytes: [UInt8]) -> String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return String(bytes.count) + " " + String(hash, radix: 16)
    }
}
