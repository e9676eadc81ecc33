"""Answers of a FakeServer."""

from typing import Any, Iterator, List

from cascade_client.wire import cascade_pb2 as pb
from fake_server import Failure

SESSION = "5" * 32


def piece(text: str, *ids: int, seq: int) -> pb.GenerateResponse:
    return pb.GenerateResponse(text=text, token_ids=ids, seq=seq)


def last(seq: int, position: int, finish: int = pb.FINISH_REASON_LENGTH, counts: bool = True) -> pb.GenerateResponse:
    response = pb.GenerateResponse(seq=seq, finish_reason=finish)
    response.usage.position = position
    if counts:
        response.acknowledgement.turn = 1
    return response


def whole(text: str = "abc", position: int = 13) -> List[pb.GenerateResponse]:
    return [*(piece(c, ord(c), seq=i) for i, c in enumerate(text, 1)), last(len(text), position)]


def answer(*responses: Any) -> Any:
    def script(request: Any) -> Iterator[Any]:
        for each in responses:
            if isinstance(each, Failure):
                raise each
            yield each

    return script


def give(response: Any) -> Any:
    def script(request: Any) -> Any:
        if isinstance(response, Failure):
            raise response
        return response

    return script


def at(position: int, state: int = pb.SESSION_STATE_RESIDENT) -> Any:
    return give(pb.Session(session_id=SESSION, position=position, state=state))
