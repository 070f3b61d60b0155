import ToroCore
import ToroMicroVM

/// Runs the experiments its arguments name, one after the other.
struct Probe: Microservice {
    let vm: MicroVM

    func run() async throws(ProbeError) {
        for argument in vm.arguments {
            let name = Array(argument.utf8)
            guard let experiment = Experiment.all.first(where: { Array($0.name) == name }) else {
                throw .unknown(argument)
            }
            print("probe: " + argument)
            try await experiment.body(vm)
        }
    }
}

/// What an experiment found.
enum ProbeError: ToroError {
    case unknown(String)
    case failed(String)

    var explanation: String {
        switch self {
        case .unknown(let name): "no experiment is called " + name
        case .failed(let what): what
        }
    }
}

/// One thing to try on a booted guest.
struct Experiment {
    let name: String.UTF8View
    let body: @Core (MicroVM) async throws(ProbeError) -> Void

    init(_ name: String, _ body: @escaping @Core (MicroVM) async throws(ProbeError) -> Void) {
        self.name = name.utf8
        self.body = body
    }

    @Core static let all: [Experiment] =
        Protection.experiments + Failures.experiments + Memories.experiments + Clocks.experiments
        + Files.experiments + Intruder.experiments + Multicore.experiments + Parameters.experiments
        + Speech.experiments
}

@main struct Appliance: MicroVMAppliance {
    static func wire(_ vm: MicroVM) async throws(WiringError) -> some Microservice {
        Probe(vm: vm)
    }
}
