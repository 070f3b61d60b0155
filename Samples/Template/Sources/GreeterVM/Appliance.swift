import Greeter
import ToroCore
import ToroMicroVM
import ToroVirtioFS
import ToroVsock

@main struct Appliance: MicroVMAppliance {
    static func wire(_ vm: MicroVM) async throws(WiringError) -> some Microservice {
        Greeter(texts: try await vm.virtioFS(tag: "texts"), port: try vm.vsock().listen(80))
    }
}
