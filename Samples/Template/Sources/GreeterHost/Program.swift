import Greeter
import ToroCore
import ToroHost

@main struct Program: HostProgram {
    static func wire(_ host: Host) async throws(WiringError) -> some Microservice {
        Greeter(texts: try host.folder(tag: "texts"), port: try host.listen(80))
    }
}
