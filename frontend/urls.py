from django.urls import path

from frontend.views import Live

urlpatterns = [path("", Live.as_view(), name="live")]
