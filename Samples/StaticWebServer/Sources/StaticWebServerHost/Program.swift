import StaticWebServer
import ToroCore
import ToroHost

/// The web server as a Linux process: files from a folder, connections from a TCP port.
@main struct Program: HostProgram {
    static func wire(_ host: Host) async throws(WiringError) -> some Microservice {
        StaticWebServer(
            site: try host.folder(tag: "site"), port: try host.listen(80),
            listing: host.isSet("LISTING"))
    }
}
