/// How an image is built, named as SwiftPM names it.
public enum BuildConfiguration: String, CaseIterable, Sendable {
    /// Built quickly, with assertions: to write a service, and to find out what it does wrong.
    case debug
    /// Optimized as a whole: what is shipped and measured.
    case release
}
