public import ToroCore

/// Why an exchange could not be done. A handler that throws one has the server answer for it.
public enum HTTPError: ToroError, Equatable {
    /// Answer with this status.
    case refused(HTTPStatus)
    /// The request's body breaks its coding: 400.
    case malformedBody
    /// The request's body is over ``HTTPLimits/bodyBytes``: 413.
    case bodyTooLarge
    /// The peer was too slow: 408, or the end of the connection.
    case timedOut
    /// The peer went away in the middle: the end of the connection.
    case disconnected
    /// No memory: 503.
    case outOfMemory
    /// The response's body cannot be what its head promised: the end of the connection.
    case incompleteBody

    /// What was wrong and what to do.
    public var explanation: String {
        switch self {
        case .refused(let status): "the request was refused with status " + String(status.code)
        case .malformedBody: "the request's body is malformed"
        case .bodyTooLarge: "the request's body is too large; see HTTPLimits.bodyBytes"
        case .timedOut: "the peer was too slow; see HTTPLimits"
        case .disconnected: "the peer went away"
        case .outOfMemory: "out of memory for an exchange; give the guest more memory"
        case .incompleteBody: "the response's body is not as long as announced"
        }
    }

    /// What to answer, if an answer is still possible.
    var status: HTTPStatus? {
        switch self {
        case .refused(let status): status
        case .malformedBody: .badRequest
        case .bodyTooLarge: .contentTooLarge
        case .outOfMemory: .serviceUnavailable
        case .incompleteBody: .internalServerError
        case .timedOut, .disconnected: nil
        }
    }
}

/// Why a server stopped serving.
public enum HTTPServerError: ToroError, Equatable {
    /// The listener failed.
    case listener(ListenError)
    /// The task that serves was cancelled; all connections are closed.
    case cancelled

    /// What was wrong and what to do.
    public var explanation: String {
        @export(interface) get {
            switch self {
            case .listener(let error): error.explanation
            case .cancelled: "the server was cancelled"
            }
        }
    }
}
