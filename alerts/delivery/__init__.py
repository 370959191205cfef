"""What is delivered to whom, when, and in which words. Pure: times are arguments, nothing is read or sent.

    rules      what a route asks for; quiet hours and daily times in its time zone
    groups     an incident and what it adopts as one message that changes
    planning   the messages of one route: at once, edited, or held for a digest
    routes     all routes: which of them a message of the stream concerns
    wording    title and text for a lock screen

The role `deliver` (`ingestion/delivery/`) reads the stream through these, stores what they plan and sends it. The
preview of a route runs the same code over the past.
"""
