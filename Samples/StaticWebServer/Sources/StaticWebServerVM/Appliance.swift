import StaticWebServer
import ToroCore
import ToroMicroVM
import ToroVirtioFS
import ToroVsock

/// The web server as a microVM: files from the share "site", connections from vsock port 80.
@main struct Appliance: MicroVMAppliance {
    static func wire(_ vm: MicroVM) async throws(WiringError) -> some Microservice {
        StaticWebServer(
            site: try await vm.virtioFS(tag: "site"), port: try vm.vsock().listen(80),
            listing: vm.isSet("LISTING"))
    }
}
